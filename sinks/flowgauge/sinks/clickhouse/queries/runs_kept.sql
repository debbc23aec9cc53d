-- What is known of some runs, as of the last fold.
SELECT <columns>
FROM flowgauge.runs_folded FINAL
WHERE tenant = {tenant:String}
    AND <where>
