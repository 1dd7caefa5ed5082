{# What was told last of something, at each moment that anything was told of it: the value of the newest row up to there
   in which the column is not null. `moments` is a window of one thing's rows in the order of `moment`, a text. #}
{% macro last_told(column, type='text', moments='moments') -%}
    (
        max(array[moment, {{ column }}{{ '' if type == 'text' else '::text' }}])
        filter (where {{ column }} is not null) over {{ moments }}
    )[2]{{ '' if type == 'text' else '::' ~ type }}
{%- endmacro %}
