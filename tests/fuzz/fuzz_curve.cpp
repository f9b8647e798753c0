#include <cmath>
#include <sstream>

#include "base/text.h"
#include "promise.h"
#include "report/curve.h"
#include "report/curve_report.h"
#include "targets.h"

namespace orch::fuzz {
namespace {

using report::Json;

void check_figures(const Json& point, bool held_out) {
  for (const auto& [name, value] : point.items()) {
    if (!held_out && name == "held_out") {
      promise(value.is_object(), "held-out figures are an object");
      check_figures(value, true);
    } else if (!held_out && name == "note") {
      promise(value.is_string() && is_utf8(value.get<std::string>()), "a note is a text");
    } else {
      promise(value.is_null() || (value.is_number() && std::isfinite(value.get<double>())),
              "all else is a number or none");
    }
  }
}

}  // namespace

void curve_target(std::string_view bytes) {
  constexpr std::size_t kMost = 50;
  const report::Curve curve = report::read_curve(bytes, kMost);
  promise(curve.points.size() <= 2 * kMost, "a curve is bounded");
  promise(static_cast<std::int64_t>(curve.points.size()) <= curve.read, "a point is a step that was read");
  std::int64_t last = -1;
  for (const Json& point : curve.points) {
    const std::int64_t step = point["step"];
    promise(step > last, "steps ascend");
    last = step;
    check_figures(point, false);
    const std::string line = point.dump();
    promise(report::live_line(line) == line, "a point is the same when it is read again");
  }
  const Json list = {{{"key", "k"}, {"points", curve.points}, {"settings", {{"seed", 1}}}}};
  std::ostringstream out;
  report::write_curves_csv(out, list);
  report::print_curves(out, {}, list);
  promise(is_utf8(out.str()), "a table is UTF-8");
  const std::string page = report::curves_html(std::string(bytes.substr(0, 100)), list);
  promise(is_utf8(page), "a page is UTF-8");
  promise(page.find("<script") == std::string::npos, "nothing of a page is run");
  const std::string svg = report::curves_svg("", list);
  promise(svg.find("nan") == std::string::npos && svg.find("inf") == std::string::npos, "coordinates are numbers");
}

}  // namespace orch::fuzz
