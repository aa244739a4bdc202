"""What tests share: checkpoints made here, servers, and ways to run functions alone."""
