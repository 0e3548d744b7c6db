"""The programs of `pnas_tf.steps` as command lines: flags, help, set-up and exit statuses."""
