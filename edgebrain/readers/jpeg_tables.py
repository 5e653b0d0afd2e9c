"""Whether a JPEG can hold colour at all, read off its Huffman tables; no pixel is decoded.

An encoder that makes tables for the picture at hand (``optimize`` in most libraries) lists the symbols that occur, and
no others. Of a grey picture in three components, the tables of the two colour components hold one symbol each: no
difference from the block before, and no coefficient. Whatever bits follow, such tables can only say "grey".

Source: ITU-T T.81, Annex B.2.4.2 (tables), F.2.2 (what their symbols mean).
"""

from __future__ import annotations

import struct

from edgebrain.readers.headers import JPEG_SOS, jpeg_segments

_SOF_HUFFMAN = frozenset({0xC0, 0xC1})  # sequential, and so with all that a block has in one scan
_DHT = 0xC4
_ADOBE = 0xEE
_YCC = (1, 2, 3)  # names of components that every decoder takes for luma and two of colour, unless Adobe says other
_LENGTHS = 16  # of codes; a table begins with how many codes there are of each
_SIZE = 0x0F  # of a symbol: the bits of the difference or coefficient that follows; of none, none follow
_AC = 0x10  # class of tables for coefficients; that of differences between blocks is 0
_UNKNOWN = b"\x01"  # of a table that the file does not bring along, decoders take one with all symbols

_Tables = dict[int, bytes]


def colors_cannot_occur(data: bytes) -> bool:
    """Whether the tables of a JPEG leave no way to store colour.

    Args:
        data: The file, of which a frame header was found already.

    Returns:
        True only where every decoder would give equal red, green and blue all over. False where tables do not tell: for
        progressive files, several scans, colours in an unusual order, or tables that allow more than a grey picture
        needs, as most cameras write.
    """
    tables: _Tables = {}
    names: tuple[int, ...] | None = None
    try:
        for marker, begin, end in jpeg_segments(data):
            if marker == _DHT:
                tables.update(_symbols(data[begin:end]))
            elif marker in _SOF_HUFFMAN:
                names = tuple(data[begin + 6 : end : 3])
            elif marker == _ADOBE:
                return False
            elif marker == JPEG_SOS:
                return names == _YCC and _colorless(data[begin:end], tables)
    except (ValueError, IndexError, struct.error):
        pass  # what is wrong with it, the decoder says
    return False


def _symbols(segment: bytes) -> _Tables:
    """The symbols of each table of a segment, by the table's class (high four bits) and number."""
    found: _Tables = {}
    at = 0
    while at < len(segment):
        start = at + 1 + _LENGTHS
        stop = start + sum(segment[at + 1 : start])
        if stop > len(segment):
            raise ValueError("a table is cut short")
        found[segment[at]] = segment[start:stop]
        at = stop
    return found


def _colorless(scan: bytes, tables: _Tables) -> bool:
    """Whether a scan header names all components, and those of colour have tables of symbols without bits alone."""
    if scan[0] != len(_YCC) or tuple(scan[1:7:2]) != _YCC:
        return False
    used = {key for chosen in scan[4:7:2] for key in (chosen >> 4, _AC | chosen & 0x0F)}
    return all(not symbol & _SIZE for key in used for symbol in tables.get(key, _UNKNOWN))
