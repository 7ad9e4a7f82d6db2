"""Record batches as bytes: the header, its fields, and writing a batch anew for another log.  (pure)

Layout: clients/src/main/java/org/apache/kafka/common/record/DefaultRecordBatch.java, magic 2; 61 bytes of header, then
the records, compressed or not, which nothing here looks into.
"""
