"""`python -m pnas_tf` is `pnas`."""

from pnas_tf.cli.main import main

if __name__ == "__main__":
    main()
