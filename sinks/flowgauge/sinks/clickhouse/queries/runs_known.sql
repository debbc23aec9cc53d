-- What is known of some runs: kept from the last fold, but for runs of which something came since; those are
-- folded now. Both branches see the same state of runs: questions share their snapshot.
<kept>
    AND <did not come>
UNION ALL
SELECT <columns>
FROM (
    <now>
    WHERE tenant = {tenant:String}
        AND <came>
    <each>
)
WHERE <where>
