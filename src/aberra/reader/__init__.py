"""What a reader works with: pictures of a case, the page, his grades and the server between them."""
