"""The status page in a real Chromium, run by `make page-test`. Fails where there is none: who asks for these tests wants to know."""
