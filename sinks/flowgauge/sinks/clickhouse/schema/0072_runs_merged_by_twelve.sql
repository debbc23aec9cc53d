-- As 0071.
ALTER TABLE flowgauge.runs MODIFY SETTING merge_selector_base = 12
