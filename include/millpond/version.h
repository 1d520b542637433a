/* The version of the library, and how its symbols are exported. */
#ifndef MILLPOND_VERSION_H
#define MILLPOND_VERSION_H

#define MP_VERSION_MAJOR 0
#define MP_VERSION_MINOR 1
#define MP_VERSION_PATCH 0

#ifdef __cplusplus
#define MP__BEGIN extern "C" {
#define MP__END }
#else
#define MP__BEGIN
#define MP__END
#endif

#define MP__API __attribute__((visibility("default")))

MP__BEGIN
/* The version of the library that is loaded, "major.minor.patch"; the macros above are the header's. Borrowed for ever. */
MP__API const char *mp_version(void);
MP__END
#endif
