/* Deep copies of values, for what has to outlive its owner without being encoded. */
#ifndef MP__SERIAL_COPY_H
#define MP__SERIAL_COPY_H
#include "serial/fault.h"
#include <millpond/type.h>
#include <stdint.h>

/* Makes `to` (type->size bytes, any content, another place than `from`) a copy of `from` that owns its memory as a decoded result
 * does: in one block, or none where nothing is pointed to; mp_free_values frees it. Fields that are not named are zero in it where
 * the type owns memory, as when decoded; addresses (mp_ptr) are copied as they are. `*bytes`, unless NULL: how large the block is.
 * On failure `to` is zero, `*bytes` 0, and it is MP_ENOMEM; MP_EINVAL: NULL with a size or count; MP_ELIMIT: it would take more
 * than MP_ITEM_SIZE_MAX. What a text or an any says is not looked at. */
mp_status mp__copy(const mp_type *type, const void *from, void *to, uint64_t *bytes, mp__fault *fault);

#endif
