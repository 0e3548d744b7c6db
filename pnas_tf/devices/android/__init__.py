"""Phones, through the stock adb client."""
