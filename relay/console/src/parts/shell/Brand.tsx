/** The name with its sign. */
import classes from './Brand.module.css';

export function Brand() {
  return (
    <span className={classes.brand}>
      <svg viewBox="0 0 32 32" width="28" height="28" aria-hidden>
        <rect className={classes.ground} width="32" height="32" rx="8" />
        <path className={classes.over} d="M6 13c3.3-4 6.7-4 10 0s6.7 4 10 0" />
        <path className={classes.under} d="M6 20c3.3-4 6.7-4 10 0s6.7 4 10 0" />
      </svg>
      Tidegate
    </span>
  );
}
