/* The description of the one structured message; protocol.h says what it is for. */
#include "pool/process/protocol.h"

MP_TYPE(mp__refusal, status, by_task, message, cpu_ns, rss_bytes);
const mp_type mp__refusal_type = {
    sizeof(mp_type),        MP__STRUCT, sizeof(mp__refusal),
    _Alignof(mp__refusal),  "refusal",  sizeof mp__fields_mp__refusal / sizeof *mp__fields_mp__refusal,
    mp__fields_mp__refusal, NULL};
