"""Self-supervised pretraining: one stage, one file a method."""
