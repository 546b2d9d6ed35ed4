/** How long changes took from their commit on one side until they were settled. Pure. */
type Timed = { latency_ms?: number | null };

export type Latencies = {
  /** Ms; undefined where no change told. */
  half: number | undefined;
  /** 95 of 100. */
  most: number | undefined;
  slowest: number | undefined;
};

export function latencies(changes: readonly Timed[]): Latencies {
  const told = changes.flatMap(({ latency_ms: ms }) => (ms == null ? [] : [ms]));
  const sorted = told.toSorted((a, b) => a - b);
  // The smallest that so many of a hundred don't exceed.
  const of = (percent: number) =>
    sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)];
  return { half: of(50), most: of(95), slowest: of(100) };
}
