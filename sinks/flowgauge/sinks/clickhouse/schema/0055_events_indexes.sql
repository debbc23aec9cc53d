-- ix_words: the words of messages in small letters, parted as SEPARATORS (text_search.py) says and by all of ASCII that is
-- no letter or digit. It takes the place of ix_message, which knew words of ASCII alone and nothing of their parts. An
-- expression, not a preprocessor: parts of the table from before, which have no such index, answer the same.
-- ix_resources: the ids of all that an event is about or related to.
ALTER TABLE flowgauge.events
    ADD INDEX IF NOT EXISTS ix_words lowerUTF8(replaceRegexpAll(message, '[\\x{80}-\\x{BF}\\x{D7}\\x{F7}\\x{2000}-\\x{2BFF}\\x{2E00}-\\x{2E7F}\\x{3000}-\\x{303F}\\x{FF00}-\\x{FF0F}\\x{FF1A}-\\x{FF20}\\x{FF3B}-\\x{FF40}\\x{FF5B}-\\x{FF65}\\x{FFFD}\\x{1F000}-\\x{1FAFF}]', ' ')) TYPE text(tokenizer = splitByNonAlpha),
    ADD INDEX IF NOT EXISTS ix_resources arrayMap(each -> each['id'], arrayPushFront(related, resource)) TYPE bloom_filter(0.01) GRANULARITY 1,
    DROP INDEX IF EXISTS ix_message
