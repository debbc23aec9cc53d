seen_last >= fromUnixTimestamp64Milli(<from_ms>, 'UTC')
AND seen_first < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
