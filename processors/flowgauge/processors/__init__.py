"""What decides: the matcher, the detector, the kinds of rule, the alert state. Pure core, thin shells.

Read `matcher` and `detector` first; `matcher_app` and `detector_app` connect them to a log.
"""
