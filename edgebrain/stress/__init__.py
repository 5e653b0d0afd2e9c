"""What a scan may go through on its way to the model, and what a model may look at instead of a tumour."""
