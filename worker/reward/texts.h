// What rules see in a completion's text: characters, numbers, how much it repeats.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace orch::reward {

/// The text, with U+FFFD in place of each byte that is not UTF-8.
std::string as_utf8(std::string_view text);

/// The number that a text is, with blanks around it, a `$`, `€` or `£` before it and a full stop behind it.
///
/// A number is `12`, `1,234`, `1.5`, `.5`, `2e-3`: a sign (`-`, `+` or U+2212), digits, of which those before the point
/// may stand in groups of three with commas between them, and an exponent. What no double can hold is no number.
std::optional<double> number_of(std::string_view text);

/// The last number in a text, as it stands there. A sign belongs to it unless a letter, a digit or a closing bracket
/// stands before the sign: `3-5` ends with 5, `= -5` with -5.
std::optional<std::string_view> last_number(std::string_view text);

/// Of all runs of `words` words the share that were there before: 1 − different ones / all. 0 where there is none.
/// Words are what stands between blanks.
double repeated_share(std::string_view text, int words);

}  // namespace orch::reward
