/** A choice of few, beside each other; below each other where a phone has no room for that. */
import { SegmentedControl } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';

type Props = {
  label: string;
  data: { value: string; label: string; disabled?: boolean }[];
  value: string;
  onChange: (value: string) => void;
};

export function Choice({ label, data, value, onChange }: Props) {
  const isNarrow = useMediaQuery('(max-width: 36em)');
  return (
    <SegmentedControl
      aria-label={label}
      orientation={isNarrow ? 'vertical' : 'horizontal'}
      fullWidth
      data={data}
      value={value}
      onChange={onChange}
    />
  );
}
