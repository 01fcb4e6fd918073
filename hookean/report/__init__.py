"""Tables, figures and the HTML page, made from record files alone."""
