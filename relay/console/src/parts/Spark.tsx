/** A row of bars: how much crossed in each of the last moments. */
import { many } from './words';
import classes from './Spark.module.css';

const HEIGHT = 28;

export function Spark({ moments, label }: { moments: number[]; label: string }) {
  const most = Math.max(1, ...moments);
  const sum = moments.reduce((total, moment) => total + moment, 0);
  return (
    <svg
      className={classes.spark}
      viewBox={`0 0 ${moments.length * 3} ${HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={`${label}: ${many(sum, 'record')}`}
    >
      {moments.map((moment, index) => {
        const height = moment === 0 ? 1 : Math.max(3, (moment / most) * HEIGHT);
        return (
          <rect
            // The bars are places, not things.
            key={index}
            className={moment === 0 ? classes.still : classes.bar}
            x={index * 3}
            y={HEIGHT - height}
            width={2}
            height={height}
          />
        );
      })}
    </svg>
  );
}
