-- What is known of the usage of each run, as one row. FINAL: an event that came twice is one.
CREATE OR REPLACE VIEW flowgauge.run_usage_final AS
SELECT
    tenant,
    run,
    max(currency_team) AS told_team,
    arraySort(
        groupArrayIf((currency, CAST(currency_cost, 'Nullable(Decimal(38, 6))')), currency != '')
    ) AS told_costs,
    sum(currency_bytes) AS told_bytes,
    sum(currency_rows) AS told_rows,
    sum(currency_cpu) AS cpu_sum,
    sum(currency_cpu_count) AS cpu_count,
    sum(currency_gpu) AS gpu_sum,
    sum(currency_gpu_count) AS gpu_count
FROM (
    SELECT
        tenant,
        run,
        used.currency AS currency,
        max(used.team) AS currency_team,
        sum(used.cost) AS currency_cost,
        sum(toUInt128(used.bytes)) AS currency_bytes,
        sum(toUInt128(used.rows)) AS currency_rows,
        sum(used.cpu_utilization) AS currency_cpu,
        count(used.cpu_utilization) AS currency_cpu_count,
        sum(used.gpu_utilization) AS currency_gpu,
        count(used.gpu_utilization) AS currency_gpu_count
    FROM flowgauge.run_usage AS used FINAL
    GROUP BY tenant, run, currency
)
GROUP BY tenant, run
