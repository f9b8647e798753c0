# A language model of letters that fits into one page: counts n-grams in the first nine tenths of a text, and measures
# how many bits a letter of the last tenth costs.
#
#   awk -v order=2 -v smoothing=0.1 -v out=result.json -f ngram.awk TEXT
{ text = text $0 "\n" }
END {
  cut = int(length(text) * 0.9)
  for (i = order + 1; i <= cut; ++i) {
    context = substr(text, i - order, order)
    ++count[context, substr(text, i, 1)]
    ++total[context]
  }
  for (i = 1; i <= length(text); ++i) if (!seen[substr(text, i, 1)]++) ++letters
  for (i = cut + 1; i <= length(text); ++i) {
    context = substr(text, i - order, order)
    likely = (count[context, substr(text, i, 1)] + smoothing) / (total[context] + smoothing * letters)
    bits = -log(likely) / log(2)
    ++n
    sum += bits
    squares += bits * bits
  }
  mean = sum / n
  printf "%d letters, %.3f bits each\n", n, mean
  printf "{\"bits_per_letter\": {\"value\": %.6f, \"stderr\": %.6f}}\n", mean, sqrt((squares / n - mean * mean) / n) >out
}
