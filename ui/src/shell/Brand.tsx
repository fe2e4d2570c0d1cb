/** The mark: an X whose strokes meet in a light. */
export function Brand({ size = 28 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden focusable="false">
      <rect width="32" height="32" rx="7" fill="#0f4c81" />
      <path d="M9 9l14 14M23 9L9 23" stroke="#fff" strokeWidth="4" strokeLinecap="round" />
      <circle cx="16" cy="16" r="3.2" fill="#8fd3ff" />
    </svg>
  );
}
