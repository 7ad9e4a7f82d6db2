/* The loop of splice.py, compiled: the same batches in, the same bytes out, refused for the same reasons.
 *
 * Plain C without Python's headers: splice.py calls it through ctypes, without the interpreter lock.
 * `SPLICE_REVISION` must be that of splice.py; a library of another revision is not used.
 */

#include <stdint.h>
#include <string.h>

#define SPLICE_REVISION 1
#define HEADER_BYTES 61
#define LENGTH_OVERHEAD 12
#define LONGEST_VARINT 10

int64_t splice_revision(void) { return SPLICE_REVISION; }

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
