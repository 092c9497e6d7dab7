"""Shared by pretraining and evaluation only: encoders, views, data, the trainer."""
