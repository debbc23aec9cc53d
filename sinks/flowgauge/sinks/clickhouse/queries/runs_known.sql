-- What is known of some runs: kept from the last fold, but for runs of which something came since; those are
-- folded now, as runs_final does it. Both branches see the same state of runs: questions share their snapshot.
<kept>
    AND NOT (<came>)
UNION ALL
SELECT <columns>
FROM (
    SELECT <made>
    FROM flowgauge.runs AS runs
    WHERE tenant = {tenant:String}
        AND <came>
    GROUP BY tenant, run
    HAVING argMaxMerge(runs.state) != ''
)
WHERE <where>
