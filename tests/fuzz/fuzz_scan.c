/* libFuzzer on the scan, against msgpack-c. Input: bytes.
 *
 * Oracle: the scan says that a whole value is there exactly when msgpack_unpack_next reads one, and of the same length. What
 * the scan lets pass needs little memory: an allocation over 64 MiB gives NULL here, so it would be seen as a refusal. */
#include "serial/codec.h"
#include <msgpack.h>
#include <stdlib.h>

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1:max_allocation_size_mb=64";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t length = 0, offset = 0;
    mp_status status = mp__scan(data, size, &length);
    msgpack_unpacked result;
    msgpack_unpacked_init(&result);
    bool read = msgpack_unpack_next(&result, (const char *)data, size, &offset) == MSGPACK_UNPACK_SUCCESS;
    if (read != (status == MP_OK) || (read && offset != length))
        abort();
    msgpack_unpacked_destroy(&result);
    return 0;
}
