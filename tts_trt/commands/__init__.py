"""What the larger subcommands do, one file each."""
