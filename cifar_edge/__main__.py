"""``python -m cifar_edge`` is `cifar-edge`, which is how torchrun starts it."""

from cifar_edge.cli.main import main

if __name__ == "__main__":
    main(prog_name="cifar-edge")
