"""What `hrkit bench` measures: the speed of inference and of training on this machine."""
