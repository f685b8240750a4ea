"""How many instructions a stored token takes: steady where seconds are not.

``make instructions`` records it for this Python and this Django, and tests/test_instructions.py
compares. Pythons are built in many ways; so what is compared is counted beside the anchor, Django's
own part, which takes more or fewer in the same proportion.
"""
