/* mp_str_of: C's texts as millpond's.
 *
 * Decides that no text and an empty text are the same. Owns nothing: the result points into what it was given, or to a
 * constant. Any thread, no lock, cannot fail. UTF-8 is checked when the text is sent, not here: a task may make a text in
 * steps, and the sender can name the field. */
#include <millpond/type.h>
#include <string.h>

mp_str mp_str_of(const char *text)
{
    return text ? (mp_str){text, strlen(text)} : (mp_str){"", 0};
}
