#include "sandbox/python.h"

#include "sandbox/boxes.h"

namespace orch::sandbox::test {
namespace {

using testing::HasSubstr;

Verdict verdict(const std::string& code, const Limits& within = limits()) {
  auto judged = run_python(sandbox(), code, within);
  if (!judged) throw std::runtime_error(judged.error().what);
  return *std::move(judged);
}

bool passes(const std::string& code) { return verdict(code).passed; }

const std::string kTest = "\ndef check(f):\n    assert f(2) == 4\n    assert f(3) == 9\ncheck(square)\n";

TEST(PythonCode, PassesWhenItsLastLineIsReached) {
  EXPECT_TRUE(passes("def square(x):\n    return x * x\n" + kTest));
  EXPECT_TRUE(passes(""));
  const Verdict wrong = verdict("def square(x):\n    return None\n" + kTest);
  EXPECT_FALSE(wrong.passed);
  EXPECT_EQ(wrong.outcome.end, End::kExited);
  EXPECT_EQ(wrong.outcome.code, 1);
  EXPECT_THAT(wrong.outcome.errors, HasSubstr("AssertionError"));
}

TEST(PythonCode, ThatLeavesEarlyHasNotPassed) {
  for (const char* leave :
       {"exit(0)", "quit()", "import sys; sys.exit()", "import os; os._exit(0)", "raise SystemExit(0)",
        "import os; os.execv('/bin/true', ['true'])", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "raise KeyboardInterrupt", "import atexit, os; atexit.register(os._exit, 0); exit()",
        "import sys; sys.excepthook = lambda *a: None; 1 / 0", "import os; os.fork() and exit(0); os._exit(0)"})
    EXPECT_FALSE(passes(std::string(leave) + "\ndef square(x): return 0\n" + kTest)) << leave;
  EXPECT_FALSE(passes("def square(x): __import__('os')._exit(0)\n" + kTest));
}

TEST(PythonCode, ThatPrintsWhatAnotherRunReportedHasNotPassed) {
  const std::string word = verdict("").outcome.report;
  EXPECT_EQ(word.size(), 32U);
  EXPECT_NE(verdict("").outcome.report, word);
  EXPECT_FALSE(passes("import os; print('" + word + "'); os.write(3, b'" + word + "'); os._exit(0)"));
  EXPECT_FALSE(passes("import os; os.write(3, b'passed')\n"));
}

TEST(PythonCode, ThatPutsOthersInThePlaceOfFunctionsGainsNothing) {
  const std::string wrong = "\ndef square(x): return 0\n" + kTest;
  EXPECT_FALSE(passes("import os, sys\nos._exit = lambda c: None\nsys.exit = print\nos.write = lambda *a: 0" + wrong));
  EXPECT_FALSE(passes("import builtins\nbuiltins.compile = builtins.exec = lambda *a: None" + wrong));
  EXPECT_TRUE(
      passes("import os, sys\nos._exit = os.write = os.read = None\nsys.stdout = None\ndef square(x): return x * x\n" +
             kTest));
}

TEST(PythonCode, ThatWasWrittenToFindItsWordIsBelieved) {
  // docs/sandbox.md says so; a defence would have to run the tests in another process than the code.
  EXPECT_TRUE(passes("import os; os.write(3, os.read(3, 64)); os._exit(0)\ndef square(x): return 0\n" + kTest));
}

TEST(PythonCode, RunsInNamesOfItsOwn) {
  EXPECT_EQ(verdict("print(__name__, sorted(globals()))").outcome.output, "builtins ['__builtins__']\n");
  EXPECT_TRUE(passes("if __name__ == '__main__': raise ValueError"));
}

TEST(PythonCode, OfBytesThatAreNoSourceFails) {
  for (const std::string& code : {std::string("x = 1\0", 6), std::string("\0", 1), std::string("x = '\xff\xfe'\n"),
                                  std::string("def f(:\n"), std::string("\xef\xbb"), std::string(200000, '(')})
    EXPECT_FALSE(passes(code));
}

TEST(PythonCode, ThatTakesItsOwnFilesAwayIsJudgedAllTheSame) {
  EXPECT_TRUE(passes("import os\nfor n in os.listdir('.'): os.remove(n)\n"));
  EXPECT_FALSE(passes("import os\nfor n in os.listdir('.'): os.remove(n)\nassert False\n"));
}

TEST(PythonCode, ThatLeavesThreadsBehindHasPassedAtItsLastLine) {
  const Verdict judged =
      verdict("import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\nprint('x')");
  EXPECT_TRUE(judged.passed);
  EXPECT_EQ(judged.outcome.output, "x\n");
}

TEST(PythonCode, ThatNeedsAnInterpreterWhichIsNotThereIsRefused) {
  const auto judged = run_python(sandbox(), "", limits(), {.interpreter = "/opt/no/python3", .read_only = {}});
  ASSERT_TRUE(judged);
  EXPECT_FALSE(judged->passed);
  EXPECT_EQ(judged->outcome.end, End::kRefused);
}

TEST(PythonProgram, ReadsItsInputAndIsJudgedByWhatItPrints) {
  const auto outcome =
      run_python_with_input(sandbox(),
                            "import sys\nif __name__ == '__main__':\n    print(sum(map(int, input().split())))\n"
                            "    print(repr(sys.stdin.read()))\n",
                            "1 2 3\nand 'more'", limits());
  ASSERT_TRUE(outcome);
  EXPECT_EQ(printed(*outcome), "6\n\"and 'more'\"\n");
}

TEST(PythonProgram, WhoseInputEndsFails) {
  const auto outcome = run_python_with_input(sandbox(), "input()\ninput()\n", "one line\n", limits());
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->code, 1);
  EXPECT_THAT(outcome->errors, HasSubstr("EOFError"));
}

}  // namespace
}  // namespace orch::sandbox::test
