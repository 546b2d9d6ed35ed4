/** Mantine's theme. Its variables are written to a file at build time (`build/theme-css.ts`). */
import { createTheme } from '@mantine/core';

export const theme = createTheme({
  primaryColor: 'tide',
  primaryShade: 8,
  colors: {
    tide: [
      '#e8f7f8',
      '#d3ecef',
      '#a6d8de',
      '#74c3cd',
      '#4bb1be',
      '#31a6b5',
      '#1590a0',
      '#0a7f8e',
      '#00707e',
      '#005e6a',
    ],
  },
  defaultRadius: 'md',
  fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif',
  fontFamilyMonospace:
    'ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace',
  headings: { fontWeight: '650' },
  respectReducedMotion: true,
  cursorType: 'pointer',
  components: {
    // What locks the scroll bar writes a `<style>` element, which the policy refuses; `global.css`
    // does the same by a class.
    Modal: {
      defaultProps: {
        lockScroll: false,
        centered: true,
        closeButtonProps: { 'aria-label': 'Close' },
      },
    },
    Drawer: { defaultProps: { lockScroll: false, closeButtonProps: { 'aria-label': 'Close' } } },
    Badge: { defaultProps: { variant: 'light' } },
    Tooltip: { defaultProps: { withArrow: true, multiline: true, maw: 320 } },
  },
});
