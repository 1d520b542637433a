/* The version of the library that is loaded, as against that of the header a program was compiled with.
 *
 * Decides nothing and owns one constant text; any thread, no lock, cannot fail. A function and not a macro, for the two can
 * differ: the header's is fixed when the program is compiled, the library's when it is loaded. */
#include <millpond/version.h>

#define TEXT(number) TEXT_(number)
#define TEXT_(number) #number

const char *mp_version(void)
{
    return TEXT(MP_VERSION_MAJOR) "." TEXT(MP_VERSION_MINOR) "." TEXT(MP_VERSION_PATCH);
}
