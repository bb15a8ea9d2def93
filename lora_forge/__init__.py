"""Plan, run and verify LoRA trainings with kohya-ss/sd-scripts."""

__version__ = "0.1.0"
