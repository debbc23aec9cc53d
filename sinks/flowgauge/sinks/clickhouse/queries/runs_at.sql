<heard of>
AND <at> >= fromUnixTimestamp64Milli(<from_ms>, 'UTC')
AND <at> < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
AND ({flow:String} = '' OR flow = {flow:String})
AND ({deployment:String} = '' OR deployment = {deployment:String})
AND ({work_pool:String} = '' OR work_pool = {work_pool:String})
AND ({tag:String} = '' OR has(tags, {tag:String}))
