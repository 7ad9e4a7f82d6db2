/* Two loops over small batches, compiled: that of splice.py (the same batches in, the same bytes out, refused for the
 * same reasons) and that of scan.py.
 *
 * Plain C without Python's headers: it is called through ctypes, without the interpreter lock.
 * `REVISION` must be that of compiled.py; a library of another revision is not used.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define REVISION 2
#define HEADER_BYTES 61
#define LENGTH_OVERHEAD 12
#define CRC_START 21
#define CODEC_MASK 7
#define LONGEST_VARINT 10

int64_t compiled_revision(void) { return REVISION; }

static int64_t read_big_endian(const uint8_t *at, int size) {
    uint64_t value = 0;
    for (int i = 0; i < size; i++) value = value << 8 | at[i];
    if (size == 4) return (int32_t)value;
    return (int64_t)value;
}

/* Reads a zigzag varint of at most 64 bits; returns where it ends, or NULL where it is none before `end`. */
static const uint8_t *read_varint(const uint8_t *at, const uint8_t *end, int64_t *value) {
    uint64_t raw = 0;
    for (int i = 0; i < LONGEST_VARINT; i++) {
        if (at + i >= end) return 0;
        uint8_t byte = at[i];
        raw |= (uint64_t)(byte & 0x7F) << (7 * i);
        if (byte < 0x80) {
            *value = (int64_t)(raw >> 1) ^ -(int64_t)(raw & 1);
            return at + i + 1;
        }
    }
    return 0;
}

static uint8_t *write_varint(uint8_t *at, int64_t value) {
    uint64_t raw = (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
    while (raw > 0x7F) {
        *at++ = (uint8_t)raw | 0x80;
        raw >>= 7;
    }
    *at++ = (uint8_t)raw;
    return at;
}

static int varint_size(int64_t value) {
    uint64_t raw = (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
    int size = 1;
    while (raw > 0x7F) {
        raw >>= 7;
        size++;
    }
    return size;
}

/* Lays the records of `count` uncompressed batches, which begin at `starts` in `buffer`, one behind the other.
 *
 * Returns how many bytes were written into `out`; -1 where the records of a batch are not what its header says, or the
 * result would not fit into `room` bytes. The batches themselves must lie in the buffer: whoever calls has looked.
 */
int64_t splice_records(const uint8_t *buffer, const int64_t *starts, int64_t count, uint8_t *out, int64_t room) {
    uint8_t *to = out, *out_end = out + room;
    int64_t next_delta = 0;
    uint64_t first_timestamp = count ? (uint64_t)read_big_endian(buffer + starts[0] + 27, 8) : 0;
    for (int64_t number = 0; number < count; number++) {
        const uint8_t *batch = buffer + starts[number];
        const uint8_t *end = batch + LENGTH_OVERHEAD + read_big_endian(batch + 8, 4);
        int64_t shift = (int64_t)((uint64_t)read_big_endian(batch + 27, 8) - first_timestamp);
        int64_t records = read_big_endian(batch + 57, 4);
        const uint8_t *at = batch + HEADER_BYTES;
        for (int64_t index = 0; index < records; index++) {
            int64_t size, timestamp, delta;
            if (!(at = read_varint(at, end, &size)) || size < 1 || size > end - at) return -1;
            const uint8_t *after = at + size;
            uint8_t attributes = *at++;
            if (!(at = read_varint(at, after, &timestamp)) || !(at = read_varint(at, after, &delta))) return -1;
            if (delta != index) return -1;
            timestamp = (int64_t)((uint64_t)timestamp + (uint64_t)shift);
            int64_t body = after - at;
            int64_t new_size = 1 + varint_size(timestamp) + varint_size(next_delta) + body;
            if (out_end - to < LONGEST_VARINT + new_size) return -1;
            to = write_varint(to, new_size);
            *to++ = attributes;
            to = write_varint(to, timestamp);
            to = write_varint(to, next_delta);
            memcpy(to, at, (size_t)body);
            to += body;
            at = after;
            next_delta++;
        }
        if (at != end) return -1;
    }
    return to - out;
}

/* CRC-32C, by the processor's own instruction where it has one. */

static uint32_t crc_table[8][256];

__attribute__((constructor)) static void make_crc_table(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
        crc_table[0][byte] = crc;
    }
    for (uint32_t byte = 0; byte < 256; byte++)
        for (int slice = 1; slice < 8; slice++)
            crc_table[slice][byte] = crc_table[slice - 1][byte] >> 8 ^ crc_table[0][crc_table[slice - 1][byte] & 0xFF];
}

static uint32_t crc32c_by_table(const uint8_t *at, int64_t size) {
    uint32_t crc = 0xFFFFFFFFu;
    for (; size >= 8; at += 8, size -= 8) {
        uint32_t low = crc ^ (at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24);
        crc = crc_table[7][low & 0xFF] ^ crc_table[6][low >> 8 & 0xFF] ^ crc_table[5][low >> 16 & 0xFF] ^
              crc_table[4][low >> 24] ^ crc_table[3][at[4]] ^ crc_table[2][at[5]] ^ crc_table[1][at[6]] ^
              crc_table[0][at[7]];
    }
    for (; size > 0; at++, size--) crc = crc >> 8 ^ crc_table[0][(crc ^ *at) & 0xFF];
    return ~crc;
}

#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_by_processor(const uint8_t *at, int64_t size) {
    uint64_t crc = 0xFFFFFFFFu, word;
    for (; size >= 8; at += 8, size -= 8) {
        memcpy(&word, at, 8);
        crc = __builtin_ia32_crc32di(crc, word);
    }
    for (; size > 0; at++, size--) crc = __builtin_ia32_crc32qi((uint32_t)crc, *at);
    return ~(uint32_t)crc;
}

uint32_t compiled_crc32c(const uint8_t *at, int64_t size, int64_t by_table) {
    if (by_table || !__builtin_cpu_supports("sse4.2")) return crc32c_by_table(at, size);
    return crc32c_by_processor(at, size);
}
#else
uint32_t compiled_crc32c(const uint8_t *at, int64_t size, int64_t by_table) {
    (void)by_table;
    return crc32c_by_table(at, size);
}
#endif

/* What is looked for, and what was found; the same fields in the same order as in scan.py. */
typedef struct {
    int64_t at, next;                                   /* in and out: where in the buffer, and the offset wanted there */
    int64_t forbidden_bits, without_timestamp;          /* in */
    int64_t most_batch_bytes, most_bytes, most_batches; /* in: of a batch; of all of them, merged; how many more */
    int64_t widened_bytes;                              /* in: what a record may take more than before */
    int64_t batches, records, size;                     /* in and out: with those that were there before */
    int64_t newest_ms, oldest_ms, largest_bytes;        /* in and out */
    int64_t epoch;                                      /* out, if anything was found */
} Run;

/* How many of the batches that follow one another from `at` on belong to the run: whole, dense, uncompressed, small,
 * undamaged, and so many that they fit into one. `starts` gets where each begins.
 */
int64_t scan_batches(const uint8_t *buffer, int64_t end, Run *run, int64_t *starts) {
    int64_t found = 0;
    while (found < run->most_batches && end - run->at >= HEADER_BYTES) {
        const uint8_t *batch = buffer + run->at;
        int64_t size = read_big_endian(batch + 8, 4) + LENGTH_OVERHEAD;
        int64_t attributes = read_big_endian(batch + 21, 2);
        int64_t count = read_big_endian(batch + 57, 4);
        int64_t base_ms = read_big_endian(batch + 27, 8), newest_ms = read_big_endian(batch + 35, 8);
        if (batch[16] != 2 || read_big_endian(batch, 8) != run->next) break;
        if (size < HEADER_BYTES || size > run->most_batch_bytes || size > end - run->at) break;
        if (count <= 0 || count != read_big_endian(batch + 23, 4) + 1) break;
        if (attributes & (run->forbidden_bits | CODEC_MASK) || (base_ms < 0) != run->without_timestamp) break;
        int64_t widened = run->widened_bytes * (run->records + count) - HEADER_BYTES * run->batches;
        if (run->size + size + (widened > 0 ? widened : 0) > run->most_bytes) break;
        if (compiled_crc32c(batch + CRC_START, size - CRC_START, 0) != (uint32_t)read_big_endian(batch + 17, 4)) break;
        starts[found++] = run->at;
        run->at += size;
        run->next += count;
        run->batches++;
        run->records += count;
        run->size += size;
        if (newest_ms > run->newest_ms) run->newest_ms = newest_ms;
        if (newest_ms < run->oldest_ms) run->oldest_ms = newest_ms;
        if (size > run->largest_bytes) run->largest_bytes = size;
        run->epoch = (int32_t)read_big_endian(batch + 12, 4);
    }
    return found;
}
