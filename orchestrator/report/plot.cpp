#include "report/plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>
#include <sstream>

#include "base/text.h"

namespace orch::report {
namespace {

// All in pixels of a drawing that is 900 wide.
constexpr double kWidth = 900, kLeft = 80, kRight = 20;
constexpr double kTop = 44;    // below the title
constexpr double kAbove = 24;  // of a panel: its own title
constexpr double kBelow = 34;  // of a panel: the numbers of its axis
constexpr double kFirst = 300, kOther = 150;
constexpr double kEntry = 18;                // of the legend
constexpr std::size_t kMostStretches = 400;  // of a line: two pixels each
constexpr double kMostNumber = 1e30, kLeastNumber = 1e-30;
constexpr int kTicks = 5, kStepTicks = 8;

constexpr std::array kColours = {"#4269d0", "#e08b00", "#d6423b", "#2a9d8f", "#3c9a51",
                                 "#d6539b", "#8f4fe0", "#5b9bd5", "#9c6b4e", "#6f7480"};
constexpr std::array kDashes = {"", "7 3", "2 3", "9 3 2 3"};

std::string colour_of(std::size_t curve) { return kColours[curve % kColours.size()]; }
std::string dashes_of(std::size_t curve) {
  const std::string dashes = kDashes[curve / kColours.size() % kDashes.size()];
  return dashes.empty() ? "" : " stroke-dasharray=\"" + dashes + "\"";
}

/// Of a coordinate: a tenth of a pixel is enough.
std::string at(double value) {
  char text[48];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

std::string tick_text(double value) {
  char text[48];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void take(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
};

bool is_drawn(double value, bool log) {
  return std::isfinite(value) && std::abs(value) < kMostNumber && (!log || value > kLeastNumber);
}

/// From numbers to pixels: `low` at `from`, `high` at `to`.
struct Axis {
  double low = 0, high = 1, from = 0, to = 1;
  bool log = false;
  std::vector<double> ticks;

  double operator()(double value) const {
    const auto of = [this](double each) { return log ? std::log10(each) : each; };
    return from + (of(value) - of(low)) / (of(high) - of(low)) * (to - from);
  }
};

Axis step_axis(Range range) {
  if (range.empty()) range = {0, 1};
  if (range.low == range.high) range = {range.low - 1, range.high + 1};
  return {range.low, range.high, kLeft, kWidth - kRight, false, round_ticks(range.low, range.high, kStepTicks)};
}

/// Whole decades, every one, or every second, third, …
Axis log_axis(const Range& range, double top, double bottom) {
  const double low = std::floor(std::log10(range.low)), high = std::max(std::ceil(std::log10(range.high)), low + 1);
  Axis axis{std::pow(10, low), std::pow(10, high), bottom, top, true, {}};
  const double every = std::max(1.0, std::ceil((high - low) / kTicks));
  for (double decade = low; decade <= high; decade += every) axis.ticks.push_back(std::pow(10, decade));
  return axis;
}

Axis value_axis(Range range, bool log, double top, double bottom) {
  if (range.empty()) range = log ? Range{1, 10} : Range{0, 1};
  if (log) return log_axis(range, top, bottom);
  const double size = std::max(std::abs(range.low), std::abs(range.high));
  if (range.high - range.low <= std::max(size * 1e-12, kLeastNumber)) {
    // All the same: half of it more and less.
    const double room = size <= kLeastNumber ? 1 : size / 2;
    range = {range.low - room, range.high + room};
  }
  const double step = round_step(range.low, range.high, kTicks);
  const double low = std::floor(range.low / step) * step, high = std::ceil(range.high / step) * step;
  return {low, high, bottom, top, false, round_ticks(low, high, 2 * kTicks)};
}

/// Points in their order; of a stretch of very many its first, last, lowest and highest, and whether there was a gap.
std::vector<std::pair<double, double>> told_apart(const std::vector<std::pair<double, double>>& points, bool log) {
  if (points.size() <= 4 * kMostStretches) return points;
  std::vector<std::pair<double, double>> kept;
  for (std::size_t stretch = 0; stretch < kMostStretches; ++stretch) {
    const std::size_t begin = stretch * points.size() / kMostStretches;
    const std::size_t end = (stretch + 1) * points.size() / kMostStretches;
    std::vector<std::size_t> chosen{begin, end - 1};
    std::optional<std::size_t> lowest, highest, gap;
    for (std::size_t i = begin; i < end; ++i) {
      const double value = points[i].second;
      if (!is_drawn(value, log)) {
        gap = i;
        continue;
      }
      if (!lowest || value < points[*lowest].second) lowest = i;
      if (!highest || value > points[*highest].second) highest = i;
    }
    for (const auto& each : {lowest, highest, gap})
      if (each) chosen.push_back(*each);
    std::ranges::sort(chosen);
    chosen.erase(std::ranges::unique(chosen).begin(), chosen.end());
    for (const std::size_t i : chosen) kept.push_back(points[i]);
  }
  return kept;
}

void draw_dot(std::ostream& out, double x, double y, std::size_t curve, double radius) {
  out << "<circle cx=\"" << at(x) << "\" cy=\"" << at(y) << "\" r=\"" << radius << "\" fill=\"" << colour_of(curve)
      << "\"/>\n";
}

void draw_line(std::ostream& out, const PlotLine& line, const Axis& x, const Axis& y) {
  const auto points = told_apart(line.points, y.log);
  std::vector<std::pair<double, double>> piece;
  const auto finish = [&] {
    if (piece.size() > 1) {
      out << "<polyline fill=\"none\" stroke=\"" << colour_of(line.curve) << "\" stroke-width=\""
          << (line.marked ? "1.8" : "1.1") << "\"" << dashes_of(line.curve) << " points=\"";
      for (std::size_t i = 0; i < piece.size(); ++i)
        out << (i ? " " : "") << at(piece[i].first) << "," << at(piece[i].second);
      out << "\"/>\n";
    }
    // One number between two gaps is no line, and is there all the same.
    if (line.marked || piece.size() == 1)
      for (const auto& [px, py] : piece) draw_dot(out, px, py, line.curve, line.marked ? 2.6 : 1.6);
    piece.clear();
  };
  for (const auto& [step, value] : points) {
    if (is_drawn(value, y.log) && is_drawn(step, false))
      piece.emplace_back(x(step), y(value));
    else
      finish();
  }
  finish();
}

void draw_text(std::ostream& out, double x, double y, const char* anchor, const char* more, std::string_view text) {
  out << "<text x=\"" << at(x) << "\" y=\"" << at(y) << "\" text-anchor=\"" << anchor << "\"" << more << ">"
      << xml_escaped(text) << "</text>\n";
}

void draw_rule(std::ostream& out, double x1, double y1, double x2, double y2, const char* colour) {
  out << "<line x1=\"" << at(x1) << "\" y1=\"" << at(y1) << "\" x2=\"" << at(x2) << "\" y2=\"" << at(y2)
      << "\" stroke=\"" << colour << "\"/>\n";
}

void draw_panel(std::ostream& out, const PlotPanel& panel, const Axis& x, double top, double height) {
  Range range;
  for (const PlotLine& line : panel.lines)
    for (const auto& [step, value] : line.points)
      if (is_drawn(value, panel.log)) range.take(value);
  const double bottom = top + height;
  const Axis y = value_axis(range, panel.log, top, bottom);
  draw_text(out, kLeft, top - 8, "start", " font-weight=\"bold\"", panel.title);
  for (const double tick : y.ticks) {
    draw_rule(out, kLeft, y(tick), kWidth - kRight, y(tick), "#e4e4e4");
    draw_text(out, kLeft - 6, y(tick) + 4, "end", "", tick_text(tick));
  }
  for (const double tick : x.ticks) {
    draw_rule(out, x(tick), bottom, x(tick), bottom + 5, "#666");
    draw_text(out, x(tick), bottom + 18, "middle", "", tick_text(tick));
  }
  draw_rule(out, kLeft, bottom, kWidth - kRight, bottom, "#666");
  draw_rule(out, kLeft, top, kLeft, bottom, "#666");
  for (const PlotLine& line : panel.lines) draw_line(out, line, x, y);
}

double draw_legend(std::ostream& out, const Plot& plot, double top) {
  for (std::size_t i = 0; i < plot.curves.size(); ++i, top += kEntry) {
    out << "<line x1=\"" << at(kLeft) << "\" y1=\"" << at(top) << "\" x2=\"" << at(kLeft + 26) << "\" y2=\"" << at(top)
        << "\" stroke=\"" << colour_of(i) << "\" stroke-width=\"3\"" << dashes_of(i) << "/>\n";
    draw_text(out, kLeft + 34, top + 4, "start", "", plot.curves[i]);
  }
  for (const std::string& note : plot.notes) {
    draw_text(out, kLeft, top + 4, "start", " fill=\"#666\"", note);
    top += kEntry;
  }
  return top;
}

}  // namespace

std::string xml_escaped(std::string_view text) {
  std::string escaped;
  // Control characters are no XML, however they are written.
  for (const char c : shown(text, 4000)) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += c;
    }
  }
  // Two code points that UTF-8 has and XML has not.
  for (const char* const none : {"\xEF\xBF\xBE", "\xEF\xBF\xBF"})
    for (std::size_t found = escaped.find(none); found != std::string::npos; found = escaped.find(none, found))
      escaped.replace(found, 3, "\xEF\xBF\xBD");
  return escaped;
}

double round_step(double low, double high, int most) {
  const double length = high - low;
  const double power = std::pow(10, std::floor(std::log10(length / most)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (length / (factor * power) <= most * (1 + 1e-9)) return factor * power;
  return 10 * power;
}

std::vector<double> round_ticks(double low, double high, int most) {
  const double step = round_step(low, high, most);
  std::vector<double> ticks;
  const double first = std::ceil(low / step - 1e-9), last = std::floor(high / step + 1e-9);
  for (double number = first; number <= last && ticks.size() <= static_cast<std::size_t>(most); ++number)
    ticks.push_back(number == 0 ? 0 : number * step);
  return ticks;
}

std::string svg_of(const Plot& plot) {
  Range steps;
  for (const PlotPanel& panel : plot.panels)
    for (const PlotLine& line : panel.lines)
      for (const auto& [step, value] : line.points)
        if (is_drawn(step, false) && is_drawn(value, panel.log)) steps.take(step);
  const Axis x = step_axis(steps);

  std::ostringstream body;
  double top = kTop;
  for (std::size_t i = 0; i < plot.panels.size(); ++i) {
    const double height = i == 0 ? kFirst : kOther;
    draw_panel(body, plot.panels[i], x, top + kAbove, height);
    top += kAbove + height + kBelow;
  }
  if (!plot.panels.empty()) draw_text(body, kWidth - kRight, top - 2, "end", " fill=\"#666\"", "step");
  const double end = draw_legend(body, plot, top + kEntry) + 6;

  std::ostringstream out;
  out << "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " << at(kWidth) << " " << at(end) << "\" width=\""
      << at(kWidth) << "\" height=\"" << at(end) << "\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n"
      << "<title>" << xml_escaped(plot.title) << "</title>\n"
      << "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n";
  draw_text(out, kLeft, 28, "start", " font-size=\"17\" font-weight=\"bold\"", plot.title);
  out << body.str() << "</svg>\n";
  return std::move(out).str();
}

}  // namespace orch::report
