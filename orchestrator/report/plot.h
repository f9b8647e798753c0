// A drawing of curves over one axis of steps, panel below panel, as an SVG that stands alone: no scripts, no fonts, no
// other files. Pure: numbers in, text out.
//
// Holds:
//  - It is well-formed XML, whatever the texts are.
//  - It is bounded: of a line with very many points those are drawn that can be told apart, the highest and the lowest
//  of
//    each stretch among them.
//  - A number that is none, or that no axis has room for (1e30 and more), is a gap.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace orch::report {

struct PlotLine {
  std::size_t curve = 0;  ///< index in Plot::curves: its colour
  bool marked = false;    ///< each point has a dot; else a thin line
  std::vector<std::pair<double, double>> points;
};
struct PlotPanel {
  std::string title;
  bool log = false;  ///< numbers that are not above 0 are gaps
  std::vector<PlotLine> lines;
};
struct Plot {
  std::string title;
  std::vector<std::string> curves;  ///< as the legend names them
  std::vector<std::string> notes;   ///< lines below the legend
  std::vector<PlotPanel> panels;    ///< the first is the tallest
};

std::string svg_of(const Plot& plot);

/// Text between tags or in an attribute, of XML and of HTML.
std::string xml_escaped(std::string_view text);

/// 1, 2 or 5 times a power of ten.
double round_step(double low, double high, int most);
/// The multiples of round_step() from `low` to `high`: at most `most` + 1.
std::vector<double> round_ticks(double low, double high, int most);

}  // namespace orch::report
