// Hides the sentences that all hold.
document.getElementById('apart').addEventListener('change', ({ target }) => {
  document.querySelector('.held').classList.toggle('only-apart', target.checked);
});
