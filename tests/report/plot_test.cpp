// Drawings: coordinates and ticks are worked by hand, and all of a drawing is read back as XML.
#include "report/plot.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <optional>

namespace orch::report {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Pointwise;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// What is wrong with it as XML; nothing: it is well formed. No declarations, comments or sections: we write none.
std::optional<std::string> fault(const std::string& text) {
  std::vector<std::string> open;
  const auto bad_text = [](std::string_view piece) {
    for (std::size_t at = 0; at < piece.size(); ++at) {
      const auto c = static_cast<unsigned char>(piece[at]);
      if (c < 0x20 && c != '\n' && c != '\t') return true;
      if (c != '&') continue;
      const std::string_view rest = piece.substr(at);
      const bool known = rest.starts_with("&amp;") || rest.starts_with("&lt;") || rest.starts_with("&gt;") ||
                         rest.starts_with("&quot;") || rest.starts_with("&#39;");
      if (!known) return true;
    }
    return false;
  };
  bool root = false;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] != '<') {
      const std::size_t end = std::min(text.find('<', at), text.size());
      const std::string piece = text.substr(at, end - at);
      if (bad_text(piece)) return "text '" + piece + "'";
      if (open.empty() && piece.find_first_not_of(" \n") != std::string::npos) return "text outside";
      at = end;
      continue;
    }
    const std::size_t end = text.find('>', at);
    if (end == std::string::npos) return "an open tag";
    std::string tag = text.substr(at + 1, end - at - 1);
    at = end + 1;
    if (tag.starts_with('/')) {
      if (open.empty() || open.back() != tag.substr(1)) return "end of " + tag;
      open.pop_back();
      continue;
    }
    const bool alone = tag.ends_with('/');
    if (alone) tag.pop_back();
    const std::size_t space = tag.find(' ');
    if (open.empty() && root) return "a second root";
    root = true;
    if (!alone) open.push_back(tag.substr(0, space));
    for (std::size_t from = space; from != std::string::npos && from < tag.size();) {
      const std::size_t name = tag.find_first_not_of(' ', from);
      if (name == std::string::npos) break;
      const std::size_t begin = tag.find("=\"", name);
      const std::size_t close = begin == std::string::npos ? begin : tag.find('"', begin + 2);
      if (close == std::string::npos) return "attribute in " + tag;
      const std::string value = tag.substr(begin + 2, close - begin - 2);
      if (bad_text(value) || value.find('<') != std::string::npos) return "value " + value;
      from = close + 1;
    }
  }
  return open.empty() && root ? std::nullopt : std::optional<std::string>("not closed");
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t times = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++times;
  return times;
}

Plot plot_of(std::vector<std::pair<double, double>> points, bool log = false, bool marked = false) {
  Plot plot;
  plot.title = "t";
  plot.curves = {"a"};
  plot.panels = {{"loss", log, {{0, marked, std::move(points)}}}};
  return plot;
}

TEST(Ticks, AreRound) {
  EXPECT_THAT(round_ticks(0, 10, 5), ElementsAre(0, 2, 4, 6, 8, 10));
  // (3.2 - 1.7) / 0.2 is 7.5 and too many; / 0.5 is 3.
  EXPECT_THAT(round_ticks(1.7, 3.2, 5), Pointwise(DoubleNear(1e-12), {2.0, 2.5, 3.0}));
  EXPECT_THAT(round_ticks(1, 300, 8), ElementsAre(50, 100, 150, 200, 250, 300));
  EXPECT_THAT(round_ticks(-0.3, 0.3, 3), Pointwise(DoubleNear(1e-12), {-0.2, 0.0, 0.2}));
  EXPECT_THAT(round_ticks(0, 2e-4, 5), Pointwise(DoubleNear(1e-16), {0.0, 5e-5, 1e-4, 1.5e-4, 2e-4}));
}

TEST(Drawing, PutsNumbersWhereTheyBelong) {
  // The axis goes from 80 to 880 pixels; the first panel from 44 + 24 = 68, 300 high, to 368. Steps are 1 to 5, losses
  // 1 to 3, whose ticks are 0.5 apart: x = 80 + 200 (step - 1), y = 368 - 150 (loss - 1).
  const std::string svg = svg_of(plot_of({{1, 3}, {2, 2}, {3, 1}, {5, 1.5}}));
  EXPECT_THAT(svg, HasSubstr("points=\"80.0,68.0 280.0,218.0 480.0,368.0 880.0,293.0\""));
  for (const char* const tick : {">1<", ">1.5<", ">2<", ">2.5<", ">3<", ">4<", ">5<"})
    EXPECT_THAT(svg, HasSubstr(tick));
  EXPECT_EQ(fault(svg), std::nullopt);
}

TEST(Drawing, WidensAnAxisOfNumbersToItsTicks) {
  // 1.2 to 2.9: steps of 0.5, from 1 to 3. y = 368 - 150 (loss - 1).
  EXPECT_THAT(svg_of(plot_of({{0, 1.2}, {4, 2.9}})), HasSubstr("points=\"80.0,338.0 880.0,83.0\""));
}

TEST(Drawing, HasWholeDecadesOnALogarithmicAxis) {
  // 0.5 to 20: from 0.1 to 100, three decades of 100 pixels each. log10 of 20 is 1.30103, of 0.5 -0.30103.
  const std::string svg = svg_of(plot_of({{0, 0.5}, {1, 0}, {2, 1}, {4, 20}}, true));
  EXPECT_THAT(svg, HasSubstr("points=\"480.0,268.0 880.0,137.9\""));
  EXPECT_THAT(svg, HasSubstr("cx=\"80.0\" cy=\"298.1\"")) << "what is before the gap is one number";
  for (const char* const tick : {">0.1<", ">1<", ">10<", ">100<"}) EXPECT_THAT(svg, HasSubstr(tick));
}

TEST(Drawing, LeavesGapsWhereNumbersAreNone) {
  const std::string svg = svg_of(plot_of({{1, 1}, {2, 2}, {3, kNan}, {4, 1e40}, {5, 1}, {6, 2}}));
  EXPECT_EQ(count(svg, "<polyline"), 2u);
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
  EXPECT_EQ(fault(svg), std::nullopt);
}

TEST(Drawing, ShowsOnePointAsADot) {
  for (const bool marked : {false, true}) {
    const std::string svg = svg_of(plot_of({{7, 2}}, false, marked));
    EXPECT_EQ(count(svg, "<circle"), 1u);
    // In the middle: steps from 6 to 8, losses from 1 to 3.
    EXPECT_THAT(svg, HasSubstr("cx=\"480.0\" cy=\"218.0\""));
    EXPECT_EQ(fault(svg), std::nullopt);
  }
}

TEST(Drawing, OfNothingIsADrawing) {
  for (const Plot& plot : {Plot(), plot_of({}), plot_of({{1, kNan}}), plot_of({{1, 0}}, true)}) {
    const std::string svg = svg_of(plot);
    EXPECT_EQ(fault(svg), std::nullopt) << svg;
    EXPECT_EQ(count(svg, "<polyline"), 0u);
  }
}

TEST(Drawing, OfManyPointsIsBoundedAndKeepsPeaks) {
  std::vector<std::pair<double, double>> points;
  for (int step = 0; step < 200'000; ++step)
    points.emplace_back(step, step == 77'777 ? 9 : step == 55'555 ? -1 : 1 + step % 2);
  const std::string svg = svg_of(plot_of(std::move(points)));
  EXPECT_LT(svg.size(), 60'000u);
  // -1 to 9 in steps of 2: from -2 to 10, so that 9 is at 368 - 300 * 11 / 12 and -1 at 368 - 300 / 12.
  EXPECT_THAT(svg, HasSubstr(",93.0 "));
  EXPECT_THAT(svg, HasSubstr(",343.0 "));
}

TEST(Drawing, OfNumbersAtTheirEdgesIsFinite) {
  for (const double low : {-1e29, -1e-300, 0.0, 5e-324, 1e-29, 1.0})
    for (const double high : {1.0, 1.0 + 1e-15, 1e-310, 1e29}) {
      const std::string svg = svg_of(plot_of({{1, low}, {9e15, high}}));
      EXPECT_THAT(svg, Not(HasSubstr("nan"))) << low << " " << high;
      EXPECT_THAT(svg, Not(HasSubstr("inf"))) << low << " " << high;
      EXPECT_EQ(fault(svg), std::nullopt);
    }
}

TEST(Drawing, EscapesAllTexts) {
  const std::string evil = "</text><script>alert(\"1\")</script>&'\x01\x1b[2J\xEF\xBF\xBF\xff";
  Plot plot = plot_of({{1, 1}, {2, 2}});
  plot.title = plot.curves[0] = plot.panels[0].title = evil;
  plot.notes = {evil};
  const std::string svg = svg_of(plot);
  EXPECT_EQ(fault(svg), std::nullopt);
  EXPECT_THAT(svg, Not(HasSubstr("<script")));
  EXPECT_THAT(svg, HasSubstr("&lt;script&gt;alert(&quot;1&quot;)"));
  EXPECT_THAT(svg, Not(HasSubstr("\xEF\xBF\xBF")));
}

TEST(Drawing, NeedsNothingElse) {
  const std::string svg = svg_of(plot_of({{1, 1}, {2, 2}}));
  // The one address is the name of what an SVG is.
  EXPECT_EQ(count(svg, "http"), 1u);
  for (const char* const outside : {"href", "url(", "@import", "font-face", "<image", "<style", "<script"})
    EXPECT_THAT(svg, Not(HasSubstr(outside)));
}

TEST(Drawing, TellsCurvesApartByColourAndThenByDashes) {
  Plot plot;
  for (std::size_t i = 0; i < 12; ++i) {
    plot.curves.push_back("c" + std::to_string(i));
    plot.panels.resize(1);
    plot.panels[0].lines.push_back({i, false, {{1, 1}, {2, static_cast<double>(i)}}});
  }
  const std::string svg = svg_of(plot);
  // The eleventh and the twelfth, in the drawing and in the legend.
  EXPECT_EQ(count(svg, "stroke-dasharray=\"7 3\""), 4u);
}

}  // namespace
}  // namespace orch::report
