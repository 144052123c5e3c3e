// The collector's clock in the browser, and the words that the browser needs itself.
// Ages are counted from the collector's clock, never from this computer's own.

export const words = JSON.parse(document.getElementById("page-words").textContent);
export const language = document.body.dataset.language;
const offsetS = Number(document.body.dataset.offsetMin) * 60;

let mark = null;

/** Takes the collector's time (UTC microseconds) as now. */
export function setNow(us) {
  mark = { wall: us / 1e6, steady: performance.now() / 1e3, own: Date.now() / 1e3 };
}

/** Seconds UTC by the collector's clock.  After a sleep of this computer the steady clock may have
 * stood still; the larger step counts, so an age is rather too old than too young. */
export function now() {
  const steady = performance.now() / 1e3 - mark.steady;
  const own = Date.now() / 1e3 - mark.own;
  return mark.wall + Math.max(steady, own);
}

/** An age in words; the same steps as `age_words` of the server. */
export function ageWords(seconds) {
  if (seconds < -2) return words.clock_wrong;
  const n = Math.max(0, Math.floor(seconds));
  if (n < 100) return words.seconds.replace("%(n)s", n);
  if (n < 6000) return words.minutes.replace("%(n)s", Math.floor(n / 60));
  if (n < 172800) {
    return words.hours.replace("%(h)s", Math.floor(n / 3600)).replace("%(m)s", Math.floor((n % 3600) / 60));
  }
  return words.days.replace("%(n)s", Math.floor(n / 86400));
}

/** Month, day and time of day in the collector's zone. */
export function timeWords(seconds) {
  return new Date((seconds + offsetS) * 1e3).toISOString().slice(5, 19).replace("T", " ");
}

/** A Date whose local fields read as the collector's zone, for the chart's axis. */
export function zoned(seconds) {
  const date = new Date(seconds * 1e3);
  return new Date(date.getTime() + (offsetS + date.getTimezoneOffset() * 60) * 1e3);
}

setNow(Number(document.body.dataset.nowUs));
