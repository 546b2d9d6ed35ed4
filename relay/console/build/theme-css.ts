/**
 * Mantine's theme as a file: by itself Mantine puts its variables into a `<style>` element while it
 * runs, which the console's Content-Security-Policy refuses. Imported as `virtual:theme.css`.
 */
import {
  convertCssVariables,
  DEFAULT_THEME,
  defaultCssVariablesResolver,
  mergeMantineTheme,
} from '@mantine/core';
import type { Plugin } from 'vite';
import { theme } from '../src/theme.ts';

const NAME = 'virtual:theme.css';

export function themeCss(): Plugin {
  return {
    name: 'theme-css',
    resolveId: (id) => (id === NAME ? `\0${NAME}` : undefined),
    load: (id) => (id === `\0${NAME}` ? css() : undefined),
  };
}

function css(): string {
  const resolved = defaultCssVariablesResolver(mergeMantineTheme(DEFAULT_THEME, theme));
  resolved.light['--mantine-color-scheme'] = 'light';
  resolved.dark['--mantine-color-scheme'] = 'dark';
  return convertCssVariables(resolved, ':root');
}
