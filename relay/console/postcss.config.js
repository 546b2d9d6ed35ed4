// Mantine's helpers for CSS modules: rem(), light-dark(), hover.
export default { plugins: { 'postcss-preset-mantine': {} } };
